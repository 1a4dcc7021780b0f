'use strict';

// What the client takes from its host where it has one: variables, and the token of the node that serves there.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

// More than any token; a longer file is another file.
const TOKEN_FILE_BYTES_MAX = 4096;

/** A variable that is set and not empty. */
function variable(name) {
  return process.env[name] || undefined;
}

/** The file in which the node of this user keeps its token, as the node looks for its data directory. */
function tokenFile() {
  const data = variable('WFENGINE_DATA_DIR');
  if (data) return path.join(data, 'http-token');
  const base = variable('XDG_DATA_HOME');
  // a relative one is to be ignored, says the XDG specification
  const share = base && path.isAbsolute(base) ? base : path.join(os.homedir(), '.local', 'share');
  return path.join(share, 'wfengine', 'http-token');
}

/** Its text, or undefined where there is no such file. Throws what the system says of one that cannot be read. */
function tokenText(file) {
  let opened;
  try {
    const about = fs.statSync(file);
    // anything else could keep the reader waiting
    if (!about.isFile()) throw new Error('it is no file');
    if (about.size > TOKEN_FILE_BYTES_MAX) throw new Error(`it has more than ${TOKEN_FILE_BYTES_MAX} bytes`);
    opened = fs.openSync(file, 'r');
    const bytes = Buffer.alloc(TOKEN_FILE_BYTES_MAX);
    return bytes.toString('utf8', 0, fs.readSync(opened, bytes, 0, bytes.length, 0));
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  } finally {
    if (opened !== undefined) fs.closeSync(opened);
  }
}

module.exports = { variable, tokenFile, tokenText };
