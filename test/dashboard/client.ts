import { appendFile } from 'node:fs/promises';
import type { Site } from '../e2e/site.js';
import { type StartOptions, startFerry, type TestProcess } from '../support/process.js';

export const PASSWORD = 'correct horse battery';

/** Adds a dashboard on a free port to the site's configuration. */
export async function withDashboard(site: Site, users: readonly string[], port = 0): Promise<void> {
  const list = users.map((user) => `{${user}}`).join(', ');
  await appendFile(
    site.path('ferry.yaml'),
    `dashboard: {listen: "127.0.0.1:${port}", users: [${list}]}\n`,
  );
}

export async function portOf(child: TestProcess): Promise<number> {
  const line = await child.line(/dashboard listens/);
  return Number(/"port":(\d+)/.exec(line)?.[1]);
}

/** Starts the role `dashboard` alone. */
export async function startDashboard(
  site: Site,
  options: StartOptions = {},
): Promise<{ child: TestProcess; port: number }> {
  const args = ['dashboard', '--log-format', 'json', '--log-level', 'debug'];
  const child = startFerry(args, { cwd: site.dir, ...options });
  const port = await portOf(child);
  return { child, port };
}

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
}

type Asked = {
  method?: string;
  headers?: Readonly<Record<string, string>>;
  body?: string | URLSearchParams;
};

/** What a browser would say, request by request: cookies, and where it comes from. */
export class Client {
  readonly origin: string;
  readonly #cookies = new Map<string, string>();

  constructor(port: number) {
    this.origin = `http://127.0.0.1:${port}`;
  }

  get cookies(): string {
    return [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  }

  async ask(path: string, { method = 'GET', headers = {}, body }: Asked = {}): Promise<Answer> {
    const response = await fetch(`${this.origin}${path}`, {
      method,
      redirect: 'manual',
      headers: {
        connection: 'close',
        ...(this.#cookies.size === 0 ? {} : { cookie: this.cookies }),
        ...(method === 'GET' ? {} : { origin: this.origin }),
        ...headers,
      },
      ...(body === undefined ? {} : { body }),
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [pair = ''] = cookie.split(';');
      const [name = '', value = ''] = pair.split('=');
      if (/max-age=0/i.test(cookie)) this.#cookies.delete(name);
      else this.#cookies.set(name, value);
    }
    return { status: response.status, headers: response.headers, text: await response.text() };
  }

  post(path: string, fields: Readonly<Record<string, string>> = {}, headers = {}): Promise<Answer> {
    return this.ask(path, { method: 'POST', body: new URLSearchParams(fields), headers });
  }

  /** A click in the Bull dashboard. */
  put(path: string): Promise<Answer> {
    return this.ask(`/queues/api/queues/${path}`, { method: 'PUT' });
  }

  login(name: string, password = PASSWORD): Promise<Answer> {
    return this.post('/login', { name, password });
  }

  /** A click on the first page, and what that page says then. */
  async act(kind: string, fields: Readonly<Record<string, string>>): Promise<string> {
    const answer = await this.post(`/act/${kind}`, fields);
    if (answer.status !== 303) throw new Error(`${kind}: ${answer.status} ${answer.text}`);
    return (await this.ask('/')).text;
  }
}
