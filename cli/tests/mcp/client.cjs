// Drives the official client: one JSON question per line of standard input, one JSON answer per line of standard output.
//
// Usage: client.cjs stdio PROGRAM ARGUMENTS…   or   client.cjs http URL TOKEN

const readline = require('node:readline');
const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { StdioClientTransport } = require('@modelcontextprotocol/sdk/client/stdio.js');
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');

function transport([kind, where, ...rest]) {
  if (kind === 'stdio') {
    return new StdioClientTransport({ command: where, args: rest, env: { ...process.env } });
  }
  const headers = { Authorization: `Bearer ${rest[0]}` };
  return new StreamableHTTPClientTransport(new URL(where), { requestInit: { headers } });
}

async function answer(client, question) {
  switch (question.ask) {
    case 'tools':
      return client.listTools();
    case 'call': {
      const told = [];
      const options = { onprogress: (progress) => told.push(progress.message) };
      const call = { name: question.name, arguments: question.arguments ?? {} };
      return { ...(await client.callTool(call, undefined, options)), told };
    }
    case 'resources':
      return client.listResources();
    case 'templates':
      return client.listResourceTemplates();
    case 'read':
      return client.readResource({ uri: question.uri });
    case 'prompts':
      return client.listPrompts();
    case 'prompt':
      return client.getPrompt({ name: question.name, arguments: question.arguments ?? {} });
    case 'complete':
      return client.complete({ ref: question.ref, argument: question.argument });
    default:
      throw new Error(question.ask);
  }
}

async function main() {
  const client = new Client({ name: 'tests', version: '1' });
  await client.connect(transport(process.argv.slice(2)));
  // the client checks what a tool answers against the schema that it has listed
  await client.listTools();
  console.log(JSON.stringify({ ready: true }));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let said;
    try {
      said = { answer: await answer(client, JSON.parse(line)) };
    } catch (error) {
      // whatever the client makes of it is for the test to judge
      said = { error: String(error) };
    }
    console.log(JSON.stringify(said));
  }
  await client.close();
}

main();
