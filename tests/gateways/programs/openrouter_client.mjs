// The Vercel AI SDK with OpenRouter's provider: generates one video; prints what it got.
import { readFileSync } from "node:fs";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { experimental_generateVideo as generateVideo } from "ai";

const [baseURL, apiKey, model, image] = process.argv.slice(2);
const openrouter = createOpenRouter({ baseURL, apiKey });
const { video, providerMetadata } = await generateVideo({
  model: openrouter.videoModel(model, { pollIntervalMs: 100 }),
  prompt: { text: "The rocket lifts off", image: readFileSync(image) },
  duration: 4,
  resolution: "1280x720",
  maxRetries: 0,
  // The provider itself sends no key with this download, and the gateway wants one.
  download: async ({ url }) => {
    const response = await fetch(url, { headers: { Authorization: `Bearer ${apiKey}` } });
    return { data: new Uint8Array(await response.arrayBuffer()), mediaType: "video/mp4" };
  },
});
console.log(JSON.stringify({ bytes: video.uint8Array.byteLength, metadata: providerMetadata }));
