/** A receiver of its own: `node receiverChild.js '<ReceiverConfig as JSON>'`; prints its port. */
import { pino } from 'pino';
import type { ReceiverConfig } from '../../src/config/model.js';
import { startReceiver } from '../../src/receiver/receiver.js';

const config: ReceiverConfig = JSON.parse(process.argv[2] ?? '{}');
const receiver = await startReceiver(config, pino({ level: 'warn' }, pino.destination(2)));
console.log(`port ${receiver.address.port}`);
process.once('SIGTERM', () => void receiver.stop());
