import { FerryError } from '../common/errors.js';
import type { DashboardConfig, FerryConfig, ReceiverConfig } from './model.js';

/** @throws FerryError CONFIG_INVALID when the file names no journal. */
export function requireJournals(config: FerryConfig): void {
  if (config.journals.length > 0) return;
  throw new FerryError(
    'CONFIG_INVALID',
    `${config.file ?? 'the configuration'} names no journals`,
    {
      kind: 'usage',
      hint: 'add: journals: [{name: foo, path: fifo/foo, to: replica}]',
    },
  );
}

/** @throws FerryError CONFIG_INVALID when the file has no `receiver`. */
export function requireReceiver(config: FerryConfig): ReceiverConfig {
  if (config.receiver !== null) return config.receiver;
  throw new FerryError('CONFIG_INVALID', `${config.file ?? 'the configuration'} has no receiver`, {
    kind: 'usage',
    hint: 'add: receiver: {listen: 0.0.0.0:4443, tls: {cert: ./cert.pem, key: ./key.pem}, apps: [{name: "*", keys: [./key/server]}]}',
  });
}

/** @throws FerryError CONFIG_INVALID when the file names no destination. */
export function requireDestinations(config: FerryConfig): void {
  if (config.destinations.size > 0) return;
  throw new FerryError(
    'CONFIG_INVALID',
    `${config.file ?? 'the configuration'} names no destinations`,
    {
      kind: 'usage',
      hint: 'add: destinations: {replica: {host: replica.example.com, url: "foo.r/!replica", key: ./key/server}}',
    },
  );
}

/** @throws FerryError CONFIG_INVALID when the file has no `dashboard`. */
export function requireDashboard(config: FerryConfig): DashboardConfig {
  if (config.dashboard !== null) return config.dashboard;
  throw new FerryError('CONFIG_INVALID', `${config.file ?? 'the configuration'} has no dashboard`, {
    kind: 'usage',
    hint: 'add: dashboard: {listen: 127.0.0.1:3000}',
  });
}
