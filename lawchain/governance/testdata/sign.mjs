// Reads lines of JSON values and answers each with {"text","signature","key"}: the value with sorted names as JavaScript
// writes it, and an ed25519 signature over it by a key made for this run.
import { createInterface } from 'node:readline';
import { generateKeyPairSync, sign } from 'node:crypto';

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const key = publicKey.export({ type: 'spki', format: 'pem' });
const tidy = (v) => {
  if (Array.isArray(v)) return v.map(tidy);
  if (v === null || typeof v !== 'object') return v;
  const out = {};
  for (const name of Object.keys(v).sort()) out[name] = tidy(v[name]);
  return out;
};
for await (const line of createInterface({ input: process.stdin })) {
  const text = JSON.stringify(tidy(JSON.parse(line)));
  const signature = sign(null, Buffer.from(text), privateKey).toString('base64');
  console.log(JSON.stringify({ text, signature, key }));
}
