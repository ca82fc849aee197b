#!/usr/bin/env node
/**
 * The installed `ferry`. CommonJS, because the size of libuv's thread pool is fixed at its first
 * use, and loading any ES module already uses it. File locks, fdatasync and DNS all run there;
 * with the default of 4 a few slow disks or names would hold up every journal.
 */
import bundle = require('./bundle.cjs');

process.env['UV_THREADPOOL_SIZE'] ??= '16';

void bundle.compiled().run().main();
