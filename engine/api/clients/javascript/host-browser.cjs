'use strict';

// A page has neither variables nor files.
module.exports = null;
