import type { WireDestination } from '../../src/config/model.js';
import { LONG_TIMEOUTS } from '../protocol/scriptedServer.js';

/** On loopback. Whoever it is: its certificate is not looked at. */
export function testDestination(port: number, key = 'secret'): WireDestination {
  return {
    name: 'd',
    kind: 'wire',
    was: [],
    connections: 4,
    host: 'localhost',
    port,
    url: 'foo.r/!replica',
    key: { text: key },
    dialect: 'acked',
    confirm: 'applied',
    tls: { verify: false, caFile: null, servername: null, certFile: null, keyFile: null },
    timeouts: LONG_TIMEOUTS,
    identity: true,
  };
}
