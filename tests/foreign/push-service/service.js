// A push service and the browser behind it, with Mozilla's library: it checks who sends, decrypts, and writes
// down what it was sent, a line of JSON each. Arguments: the files of its certificate and its key.
// The path says how it answers: /503,201/anything first with 503, then with 201; it asks to wait for 30 s.
const crypto = require("crypto"), fs = require("fs"), https = require("https"), ece = require("http_ece");

const browser = crypto.createECDH("prime256v1");
const publicKey = browser.generateKeys(), authSecret = crypto.randomBytes(16);
const counts = {};

function claims(authorization, audience) {
  const [, token, key] = /^vapid t=([^,]+),\s*k=(.+)$/.exec(authorization);
  const point = Buffer.from(key, "base64url"), [head, body, signature] = token.split(".");
  const jwk = { kty: "EC", crv: "P-256", x: point.subarray(1, 33).toString("base64url"), y: point.subarray(33).toString("base64url") };
  const signer = crypto.createPublicKey({ key: jwk, format: "jwk" });
  const signed = crypto.verify(
    "sha256", Buffer.from(`${head}.${body}`), { key: signer, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url"),
  );
  const said = JSON.parse(Buffer.from(body, "base64url"));
  return { ...said, signed: signed && said.aud === audience, key, algorithm: JSON.parse(Buffer.from(head, "base64url")).alg };
}

const service = https.createServer({ cert: fs.readFileSync(process.argv[2]), key: fs.readFileSync(process.argv[3]) }, (request, answer) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const { url, headers } = request, statuses = url.split("/")[1].split(",").map(Number);
    counts[url] = (counts[url] ?? 0) + 1;
    const status = statuses[Math.min(counts[url], statuses.length) - 1];
    const text = ece.decrypt(Buffer.concat(parts), { version: "aes128gcm", privateKey: browser, authSecret }).toString();
    const heard = { url, status, headers, text, claims: claims(headers.authorization, `https://${headers.host}`) };
    console.log(JSON.stringify(heard));
    if (status) answer.writeHead(status, status === 201 ? {} : { "retry-after": "30" }).end();
  });
});
service.listen(0, "127.0.0.1", () => {
  const keys = { p256dh: publicKey.toString("base64url"), auth: authSecret.toString("base64url") };
  console.log(JSON.stringify({ port: service.address().port, ...keys }));
});
