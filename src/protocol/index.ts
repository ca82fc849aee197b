/** The wire, from the sender's side: what other folders use of it. */
export { Connection, connectionsSettled, LINGER_MS } from './connection.js';
export { type Body, checkBlobPath, plainRequest, requestHead } from './encode.js';
export { addressOf, type Endpoint } from './endpoint.js';
export { H2Client } from './h2/client.js';
export { type SendRequest, type SendResult, send } from './send.js';
