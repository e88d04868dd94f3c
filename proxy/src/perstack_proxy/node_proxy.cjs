// Node before 24 has a fetch that knows no proxy variables. Its first call gets a dispatcher that does.
"use strict";

const DISPATCHER = Symbol.for("undici.globalDispatcher.1");
const [major, minor] = process.versions.node.split(".").map(Number);
const knowsProxies = major >= 24 || (major === 22 && minor >= 21);

function connectThrough(proxy) {
  const http = require("node:http");
  const tls = require("node:tls");
  return ({ hostname, port, protocol, servername }, done) => {
    const authority = `${hostname}:${port || (protocol === "https:" ? 443 : 80)}`;
    const options = { method: "CONNECT", path: authority, headers: { host: authority }, agent: false };
    const request = http.request({ ...options, host: proxy.hostname, port: proxy.port });
    request.once("error", done);
    request.once("connect", (response, socket, head) => {
      if (response.statusCode !== 200) {
        socket.destroy();
        done(new Error(`the proxy answered ${response.statusCode} to CONNECT ${authority}: ${head}`));
        return;
      }
      if (protocol !== "https:") {
        done(null, socket);
        return;
      }
      const secure = tls.connect({ socket, servername: servername || hostname, ALPNProtocols: ["http/1.1"] });
      secure.once("error", done);
      secure.once("secureConnect", () => done(null, secure));
    });
    request.end();
  };
}

const url = process.env.HTTPS_PROXY;
if (url && !knowsProxies && typeof globalThis.fetch === "function") {
  const original = globalThis.fetch;
  globalThis.fetch = function fetch(...words) {
    new Response(); // loads what holds the dispatcher
    const Agent = globalThis[DISPATCHER].constructor;
    globalThis[DISPATCHER] = new Agent({ connect: connectThrough(new URL(url)) });
    globalThis.fetch = original;
    return original(...words);
  };
}
