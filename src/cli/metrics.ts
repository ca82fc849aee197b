import type { Logger } from '../common/logger.js';
import type { FerryConfig } from '../config/model.js';
import type { Metrics } from '../metrics/metrics.js';

/** Metrics and health, where the configuration asks for them; loaded only then. */
export async function startMetrics(config: FerryConfig, logger: Logger): Promise<Metrics | null> {
  if (config.metrics === null) return null;
  const { Metrics } = await import('../metrics/metrics.js');
  return Metrics.start(config.metrics.listen, logger);
}
