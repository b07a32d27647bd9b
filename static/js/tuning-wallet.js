// What fine-tuning asks a wallet to sign: 32 bytes whose meaning is shown first.
import { account, declined, prompt } from "./wallet-provider.js";
import { sessionWallet } from "./wallet-signin.js";
import { post } from "./wallet-http.js";
import { ask } from "./providerkey.js";

// Prepare at `path`/prepare, show, sign: resolves to {signature, timestamp, nonce}, null when the person said no.
export async function signed(path, title, button) {
  await sessionWallet();
  const wanted = await post(`${path}/prepare`);
  if (!await ask(wanted, title, button)) return null;
  try {
    return { signature: await prompt("personal_sign", [wanted.digest, account()]), timestamp: wanted.timestamp, nonce: wanted.nonce };
  } catch (error) {
    if (declined(error)) return null;
    throw error;
  }
}
