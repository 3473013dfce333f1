// OpenAI's SDK for JavaScript: submits, polls and downloads; prints what it got.
import { createReadStream } from "node:fs";
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey, model, image] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
let video = await client.videos.create({
  model,
  prompt: "The rocket lifts off",
  seconds: "4",
  size: "1280x720",
  input_reference: await toFile(createReadStream(image), "image.jpg", { type: "image/jpeg" }),
});
while (["queued", "in_progress"].includes(video.status)) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  video = await client.videos.retrieve(video.id);
}
const content = await (await client.videos.downloadContent(video.id)).arrayBuffer();
const listed = [];
for await (const each of client.videos.list()) listed.push(each.id);
console.log(JSON.stringify({ id: video.id, status: video.status, bytes: content.byteLength, listed }));
