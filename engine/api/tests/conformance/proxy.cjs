// Lets a program that knows of no tokens ask a node: hands its requests on with the token.
//
// Usage: proxy.cjs http://HOST:PORT TOKEN; prints its own address.

const http = require('node:http');

const target = new URL(process.argv[2]);
const server = http.createServer((asked, answer) => {
  // what is sent to the proxy is meant for the node; any other name is handed on as it is
  const own = `127.0.0.1:${server.address().port}`;
  const host = [own, own.replace('127.0.0.1', 'localhost')].includes(asked.headers.host) ? target.host : asked.headers.host;
  const origin = asked.headers.origin?.endsWith(own) ? target.origin : asked.headers.origin;
  const headers = { ...asked.headers, host, authorization: `Bearer ${process.argv[3]}` };
  if (origin !== undefined) headers.origin = origin;
  const request = http.request({ hostname: target.hostname, port: target.port, path: asked.url, method: asked.method, headers });
  request.on('response', (told) => {
    answer.writeHead(told.statusCode, told.headers);
    told.pipe(answer);
  });
  request.on('error', () => answer.destroy());
  asked.pipe(request);
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
