'use strict';

// What require('wfengine') gives: the class itself.
module.exports = require('./client.js');
