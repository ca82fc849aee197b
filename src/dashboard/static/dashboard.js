/** Brings the page up to date every two seconds, part by part: what somebody uses is left alone. */
const PAUSE_MS = 2000;
const live = document.getElementById('live');
/** A click is on its way: the page that it leads to comes. */
let leaving = false;

const inUse = (element) =>
  element.contains(document.activeElement) || element.querySelector('details[open]') !== null;

const rowsOf = (page) => [...page.querySelectorAll('tbody tr')].map(({ id }) => id).join(' ');

function take(fresh) {
  const routes = document.getElementById('routes');
  const freshRoutes = fresh.getElementById('routes');
  if (rowsOf(document) !== rowsOf(fresh) && !inUse(routes)) routes.replaceWith(freshRoutes);
  for (const part of document.querySelectorAll('[data-live]')) {
    const next = fresh.getElementById(part.id);
    if (next === null || next.innerHTML === part.innerHTML || inUse(part)) continue;
    part.innerHTML = next.innerHTML;
    const row = part.closest('tr');
    if (row !== null) row.className = fresh.getElementById(row.id)?.className ?? row.className;
  }
}

function trouble(text) {
  live.hidden = text === '';
  live.textContent = text;
}

async function look() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: 'text/html' } });
    if (leaving) return;
    // The session is over.
    if (answer.redirected) location.reload();
    else if (answer.ok) take(new DOMParser().parseFromString(await answer.text(), 'text/html'));
    trouble(answer.ok ? '' : 'The dashboard has trouble; trying again.');
  } catch {
    if (!leaving) trouble('The dashboard does not answer; trying again. What you see is old.');
  }
}

async function watch() {
  if (document.visibilityState === 'visible' && !leaving) await look();
  setTimeout(watch, PAUSE_MS);
}

/** One click is enough: a skip may take a while. */
document.addEventListener('submit', ({ target }) => {
  if (target.method !== 'post') return;
  leaving = true;
  for (const button of document.querySelectorAll('form[method="post"] button')) {
    button.disabled = true;
  }
  target.setAttribute('aria-busy', 'true');
});
/** Back from the history, as it was left. */
addEventListener('pageshow', ({ persisted }) => {
  if (persisted) location.reload();
});
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible' && !leaving) look();
});
/** Whoever cannot see what came of the click hears it. */
document.querySelector('.said')?.focus();
setTimeout(watch, PAUSE_MS);
