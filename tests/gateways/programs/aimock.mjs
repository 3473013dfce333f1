// A server of @copilotkit/aimock whose every video is the given file; it prints its address, and ends with stdin.
import { readFileSync } from "node:fs";
import { LLMock } from "@copilotkit/aimock";

const [file, link] = process.argv.slice(2);
const mock = new LLMock({ port: 0 });
mock.onVideo(/breaks/, { video: { id: "video_broken", status: "failed", error: "It went wrong" } });
mock.onVideo(/./, {
  video: { id: "video_of_aimock", status: "completed", url: link, b64: readFileSync(file, "base64"), cost: 0.4 },
});
await mock.start();
console.log(mock.url);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
