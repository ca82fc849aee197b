import { html } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import { formatAge, formatBytes } from '../common/format.js';
import type { RouteStatus, StatusReport } from '../status/report.js';
import type { Said } from './cookies.js';
import { sparkline } from './sparkline.js';
import type { Throughput } from './throughput.js';
import type { User } from './users.js';

type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

/** What needs somebody comes first. */
const URGENCY: readonly RouteStatus['state'][] = [
  'blocked',
  'retrying',
  'paused',
  'orphaned',
  'sending',
  'idle',
];
/** A page with more is slow, and nobody reads it. */
const ROUTES_SHOWN = 200;

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
      ${table(facts)}
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

function table({ report, throughput, user, filter }: PageFacts): Html {
  const fitting = report.routes
    .filter(({ route }) => route.includes(filter))
    .sort((a, b) => URGENCY.indexOf(a.state) - URGENCY.indexOf(b.state));
  const shown = fitting.slice(0, ROUTES_SHOWN);
  if (shown.length === 0) {
    return html`<p id="routes" data-live class="none">${filter === '' ? 'No routes yet: a route is known once its journal was captured.' : 'No route has such a name.'}</p>`;
  }
  const canAct = user?.readOnly !== true;
  return html`<table id="routes"><thead><tr><th scope="col">Route</th><th scope="col">State</th><th scope="col">Waiting</th><th scope="col">Delivered</th><th scope="col">Last 5 minutes</th>${canAct ? html`<th scope="col">Act</th>` : ''}</tr></thead>
  <tbody>${shown.map((route) => row(route, throughput, canAct))}</tbody></table>
  ${fitting.length > shown.length ? html`<p class="none">${fitting.length - shown.length} more: filter by name.</p>` : ''}`;
}

function row(route: RouteStatus, throughput: Throughput, canAct: boolean): Html {
  const { route: name, state } = route;
  const id = encodeURIComponent(name);
  const tries = route.attempts > 0 ? `, ${route.attempts} tries` : '';
  return html`<tr id="row-${id}" class="${state}">
    <th scope="row">${name}</th>
    <td id="state-${id}" data-live data-label="State"><span class="state ${state}">${state}</span><span class="note">next ${route.head}${tries}</span>${error(route)}</td>
    <td id="lag-${id}" data-live data-label="Waiting">${route.pendingBatches === 0 ? '–' : html`<b>${route.pendingBatches}</b> <span class="size">(${formatBytes(route.pendingBytes)})</span>`}<span class="note">${route.pendingBatches === 0 ? '' : `oldest ${formatAge(route.oldestAgeMs)}`}${route.pendingBlobs > 0 ? ` +${route.pendingBlobs} blobs` : ''}${route.journalBytes > 0 ? ` ${formatBytes(route.journalBytes)} in the journal` : ''}</span></td>
    <td id="done-${id}" data-live data-label="Delivered">${route.deliveredBatches} <span class="note">${formatBytes(route.deliveredBytes)}${route.skippedBatches > 0 ? `, ${route.skippedBatches} skipped` : ''}</span></td>
    <td id="rate-${id}" data-live data-label="Last 5 minutes">${sparkline(throughput.of(name), throughput.windowMs, `throughput of ${name}`)}</td>
    ${canAct ? html`<td id="act-${id}" data-live data-label="Act" class="acts">${actions(route)}</td>` : ''}</tr>`;
}

function error({ lastError, lastErrorAt }: RouteStatus): Html | '' {
  if (lastError === null) return '';
  const when =
    lastErrorAt === null
      ? ''
      : `${formatAge(Math.max(0, Date.now() - Date.parse(lastErrorAt)))} ago`;
  return html`<p class="error">${lastError} <time datetime="${lastErrorAt ?? ''}">${when}</time></p>`;
}

function actions({ route, state, head }: RouteStatus): Html {
  if (state === 'orphaned') return skipForm(route, 'all', 'Drop');
  return html`${state === 'blocked' || state === 'retrying' ? verdict(route, 'replay', 'Replay') : ''}
    ${state === 'blocked' ? skipForm(route, String(head), 'Skip') : ''}
    ${state === 'paused' ? verdict(route, 'resume', 'Resume') : verdict(route, 'pause', 'Pause')}`;
}

function verdict(route: string, kind: string, label: string): Html {
  return html`<form method="post" action="/act/${kind}"><input type="hidden" name="route" value="${route}"><button aria-label="${label} ${route}">${label}</button></form>`;
}

/** The number is that of the page: a route that moved on meanwhile is not touched. */
function skipForm(route: string, sequence: string, label: string): Html {
  const what = sequence === 'all' ? `all that waits for ${route}` : `batch ${sequence} of ${route}`;
  return html`<details><summary aria-label="${label} ${what}">${label}</summary><form method="post" action="/act/skip">
    <input type="hidden" name="route" value="${route}"><input type="hidden" name="sequence" value="${sequence}">
    <label>Give up ${what}. Why? <input name="reason" required maxlength="500" autocomplete="off"></label>
    <button class="danger">${label} it for good</button></form></details>`;
}
