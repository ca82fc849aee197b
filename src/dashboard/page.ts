import { html } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import { formatAge, formatBytes } from '../common/format.js';
import type { RouteStatus, StatusReport } from '../status/report.js';
import type { Said } from './cookies.js';
import { routeTable } from './routeTable.js';
import type { Throughput } from './throughput.js';
import type { User } from './users.js';

export type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

export interface PageFacts {
  report: StatusReport;
  throughput: Throughput;
  /** null: nobody is asked who they are. */
  user: User | null;
  /** Part of the names that are to be shown. */
  filter: string;
  /** What came of the last click. */
  said: Said | null;
}

export function overviewPage(facts: PageFacts): Html {
  const { user, said } = facts;
  return document(
    'routes',
    html`<header>
      <h1>journal-ferry</h1>
      <nav aria-label="Pages"><a href="/" aria-current="page">Routes</a><a href="/queues">Queues</a></nav>
      ${
        user === null
          ? ''
          : html`<form class="who" method="post" action="/logout"><span>${user.name}${user.readOnly ? ', looks only' : ''}</span><button>Log out</button></form>`
      }
    </header>
    <main>
      ${said === null ? '' : html`<p class="said ${said.ok ? 'ok' : 'bad'}" role="status" tabindex="-1">${said.text}</p>`}
      ${summary(facts.report)}
      <form class="filter" method="get" action="/" role="search"><label>Show routes with <input name="q" value="${facts.filter}" autocomplete="off"></label><button>Filter</button></form>
      ${routeTable(facts)}
    </main>
    <p id="live" class="live" role="status" hidden></p>
    <script src="/static/dashboard.js" defer></script>`,
    true,
  );
}

export function loginPage(said: string | null): Html {
  return document(
    'log in',
    html`<main class="login"><h1>journal-ferry</h1>
      <form class="box" method="post" action="/login">
        ${said === null ? '' : html`<p class="said bad" role="alert">${said}</p>`}
        <label>Name <input name="name" autocomplete="username" required autofocus></label>
        <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
        <button class="main">Log in</button>
      </form></main>`,
    false,
  );
}

function document(title: string, body: Html, reads: boolean): Html {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>journal-ferry: ${title}</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/static/dashboard.css">
${reads ? html`<noscript><meta http-equiv="refresh" content="10"></noscript>` : ''}</head>
<body>${body}</body></html>`;
}

function summary({ redis, routes }: StatusReport): Html {
  const count = (state: RouteStatus['state']) => routes.filter((r) => r.state === state).length;
  const sum = (of: (route: RouteStatus) => number) => routes.reduce((all, r) => all + of(r), 0);
  const blocked = count('blocked');
  const oldest = Math.max(0, ...routes.map((r) => r.oldestAgeMs));
  return html`<section id="summary" data-live>
    ${
      redis.ok && redis.error === null
        ? ''
        : html`<p class="said bad" role="alert"><strong>${redis.ok ? 'Redis is full.' : 'Redis is away.'}</strong> ${redis.error} ${redis.ok ? '' : 'Nothing is lost: journals are kept, and everything goes on by itself when Redis is back.'}</p>`
    }
    <dl class="tiles">
      <div><dt>Redis</dt><dd class="${redis.ok ? 'good' : 'danger'}">${redis.ok ? 'ok' : 'away'}</dd><dd class="note">${redis.durability === null ? '' : `durability ${redis.durability}`}</dd></div>
      <div><dt>Routes</dt><dd>${routes.length}</dd><dd class="note">${count('sending')} sending, ${count('idle')} idle</dd></div>
      <div><dt>Need you</dt><dd class="${blocked > 0 ? 'danger' : ''}">${blocked} blocked</dd><dd class="note">${count('retrying')} retrying, ${count('paused')} paused</dd></div>
      <div><dt>Waiting</dt><dd>${formatBytes(sum((r) => r.pendingBytes))}</dd><dd class="note">${sum((r) => r.pendingBatches)} batches${oldest > 0 ? `, oldest ${formatAge(oldest)}` : ''}</dd></div>
      <div><dt>Delivered</dt><dd>${formatBytes(sum((r) => r.deliveredBytes))}</dd><dd class="note">${sum((r) => r.deliveredBatches)} batches</dd></div>
    </dl></section>`;
}
