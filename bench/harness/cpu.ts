import type { Redis } from 'ioredis';

/** Processor seconds of a Redis server since its start, to the microsecond, by its own account. */
export async function serverCpuSeconds(redis: Redis): Promise<number> {
  const info = await redis.info('cpu');
  const figure = (name: string): number =>
    Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? Number.NaN);
  return figure('used_cpu_sys') + figure('used_cpu_user');
}

/** Processor seconds of this process since its start. */
export function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
