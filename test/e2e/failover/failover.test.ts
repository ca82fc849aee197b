import { describe } from 'node:test';
import { failOnLeaks } from '../../support/leaks.js';
import { clusterTests } from './cluster.js';
import { sentinelTests } from './sentinel.js';

failOnLeaks();

// Leases and elections are waited for, so these run at the same time.
describe('a failover', { concurrency: true }, () => {
  sentinelTests();
  clusterTests();
});
