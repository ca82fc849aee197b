#!/usr/bin/env node
/** The installed `ferry-ssl`: `ferry ssl` under a name of its own, so that a script changes one word. */
process.argv.splice(2, 0, 'ssl');

require('./ferry.cjs');
