import { html } from 'hono/html';
import { formatAge, formatBytes } from '../common/format.js';
import { parseRouteName } from '../common/identity.js';
import type { RouteStatus } from '../status/report.js';
import type { Html, PageFacts } from './page.js';
import { sparkline } from './sparkline.js';

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

/** Every route whose name fits the filter: how it stands, and what can be said to it. */
export function routeTable({ report, throughput, user, filter }: PageFacts): Html {
  const fitting = report.routes
    .filter(({ route }) => route.includes(filter))
    .sort((a, b) => URGENCY.indexOf(a.state) - URGENCY.indexOf(b.state));
  const shown = fitting.slice(0, ROUTES_SHOWN);
  if (shown.length === 0) {
    return html`<p id="routes" data-live class="none">${filter === '' ? 'No routes yet: a route is known once its journal was captured.' : 'No route has such a name.'}</p>`;
  }
  const acts = user?.readOnly === true ? null : (route: RouteStatus) => actions(route, filter);
  return html`<table id="routes"><thead><tr><th scope="col">Route</th><th scope="col">State</th><th scope="col">Waiting</th><th scope="col">Delivered</th><th scope="col">Last 5 minutes</th>${acts === null ? '' : html`<th scope="col">Act</th>`}</tr></thead>
  <tbody>${shown.map((route) => {
    const graph = sparkline(
      throughput.of(route.route),
      throughput.windowMs,
      `throughput of ${route.route}`,
    );
    return row(route, graph, acts);
  })}</tbody></table>
  ${fitting.length > shown.length ? html`<p class="none">${fitting.length - shown.length} more: filter by name.</p>` : ''}`;
}

/** A cell that the page brings up to date by its id. */
function row(route: RouteStatus, graph: Html, acts: ((route: RouteStatus) => Html) | null): Html {
  const id = encodeURIComponent(route.route);
  const { journal, destination } = parseRouteName(route.route);
  const cell = (name: string, label: string, content: Html | string, kind = '') =>
    html`<td id="${name}-${id}" data-live data-label="${label}" class="${kind}">${content}</td>`;
  return html`<tr id="row-${id}" class="${route.state}">
    <th scope="row">${journal}<wbr>@${destination}</th>
    ${cell('state', 'State', stateOf(route))}
    ${cell('lag', 'Waiting', waitingOf(route))}
    ${cell('done', 'Delivered', deliveredOf(route))}
    ${cell('rate', 'Last 5 minutes', graph)}
    ${acts === null ? '' : cell('act', 'Act', acts(route), 'acts')}</tr>`;
}

function stateOf({ state, head, attempts, lastError, lastErrorAt }: RouteStatus): Html {
  const tries = attempts > 0 ? `, ${attempts} tries` : '';
  return html`<span class="state ${state}">${state}</span><span class="note">next ${head}${tries}</span>${
    lastError === null
      ? ''
      : html`<p class="error">${lastError} <time datetime="${lastErrorAt ?? ''}">${ago(lastErrorAt)}</time></p>`
  }`;
}

function ago(iso: string | null): string {
  return iso === null ? '' : `${formatAge(Math.max(0, Date.now() - Date.parse(iso)))} ago`;
}

function waitingOf(route: RouteStatus): Html {
  const { pendingBatches, pendingBytes, oldestAgeMs, pendingBlobs, journalBytes } = route;
  const notes = [
    ...(pendingBatches > 0 ? [`oldest ${formatAge(oldestAgeMs)}`] : []),
    ...(pendingBlobs > 0 ? [`${pendingBlobs} blobs`] : []),
    ...(journalBytes > 0 ? [`${formatBytes(journalBytes)} in the journal`] : []),
  ];
  return html`${
    pendingBatches === 0
      ? '–'
      : html`<b>${pendingBatches}</b> <span class="size">(${formatBytes(pendingBytes)})</span>`
  }<span class="note">${notes.join(', ')}</span>`;
}

function deliveredOf({ deliveredBatches, deliveredBytes, skippedBatches }: RouteStatus): Html {
  const skipped = skippedBatches > 0 ? `, ${skippedBatches} skipped` : '';
  return html`${deliveredBatches} <span class="note">${formatBytes(deliveredBytes)}${skipped}</span>`;
}

function actions({ route, state, head }: RouteStatus, filter: string): Html {
  if (state === 'orphaned') return skipForm(route, 'all', 'Drop', filter);
  const isStuck = state === 'blocked' || state === 'retrying';
  return html`${isStuck ? verdict(route, 'replay', 'Replay', filter) : ''}
    ${state === 'blocked' ? skipForm(route, String(head), 'Skip', filter) : ''}
    ${state === 'paused' ? verdict(route, 'resume', 'Resume', filter) : verdict(route, 'pause', 'Pause', filter)}`;
}

function verdict(route: string, kind: string, label: string, filter: string): Html {
  return html`<form method="post" action="/act/${kind}">${hidden({ route, q: filter })}<button aria-label="${label} ${route}">${label}</button></form>`;
}

/** The number is that of the page: a route that moved on meanwhile is not touched. */
function skipForm(route: string, sequence: string, label: string, filter: string): Html {
  const what = sequence === 'all' ? `all that waits for ${route}` : `batch ${sequence} of ${route}`;
  return html`<details><summary aria-label="${label} ${what}">${label}</summary><form method="post" action="/act/skip">
    ${hidden({ route, sequence, q: filter })}
    <label>Give up ${what}. Why? <input name="reason" required maxlength="500" autocomplete="off"></label>
    <button class="danger">${label} it for good</button></form></details>`;
}

function hidden(fields: Readonly<Record<string, string>>): Html[] {
  return Object.entries(fields).map(
    ([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`,
  );
}
