import type { AuditEntry } from '../common/audit.js';

/** What may be said to jobs, as bull-board calls it. */
export type ClickKind = 'promote' | 'retry' | 'clean';

export interface Click {
  queue: 'batches' | 'blobs';
  kind: ClickKind;
  /** One job; null: all of a state. */
  job: string | null;
  /** Which state: `failed`, `delayed`; null for one job, and for "promote all". */
  state: string | null;
}

const OF_A_QUEUE = /^\/queues\/api\/queues\/(batches|blobs)\/(.+)$/;
/** `promote`, `retry/failed`, `clean/delayed` */
const ALL = /^(promote)$|^(retry)\/(failed|completed)$|^(clean)\/([a-z-]+)$/;
/** `<job>/retry`; bull-board keeps `job-schedulers` for another thing. */
const ONE = /^(?!job-schedulers\/)([^/]+)\/(promote|retry|clean)$/;

/**
 * The click that a request of bull-board stands for; null: one that is not allowed. The rest of its
 * api would go around the routes: new jobs, other data in a job (of a blob's it names the file that
 * is sent), another delay, `empty` and `obliterate`, a pause or a limit that no status shows.
 */
export function clickOf(method: string, path: string): Click | null {
  if (method !== 'PUT') return null;
  const [, queue, what = ''] = OF_A_QUEUE.exec(path) ?? [];
  if (queue !== 'batches' && queue !== 'blobs') return null;
  const all = ALL.exec(what);
  if (all !== null) {
    const kind = (all[1] ?? all[2] ?? all[4]) as ClickKind;
    return { queue, kind, job: null, state: all[3] ?? all[5] ?? null };
  }
  const [, job, kind] = ONE.exec(what) ?? [];
  return job === undefined
    ? null
    : { queue, kind: kind as ClickKind, job: decoded(job), state: null };
}

/** How the click stands in the audit log. Job ids begin with their route. */
export function auditOf({ queue, kind, job, state }: Click, by: string): AuditEntry {
  const route = job?.split('~')[0];
  return {
    event: 'jobs',
    ...(route === undefined ? {} : { route }),
    detail: { by, click: kind === 'clean' ? 'remove' : kind, queue, job: job ?? 'all', state },
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
