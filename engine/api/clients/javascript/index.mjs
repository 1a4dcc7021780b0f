// What `import` gives. In a browser's own modules client.js exports nothing and leaves the class under a global name.
import * as loaded from './client.js';

const MCP = loaded.default ?? globalThis.wfengine;

export default MCP;
export { MCP };
export const WfengineError = MCP.WfengineError;
