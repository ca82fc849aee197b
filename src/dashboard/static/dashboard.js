/** Brings the page up to date every two seconds, part by part: what somebody uses is left alone. */
const PAUSE_MS = 2000;
const live = document.getElementById('live');

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

async function look() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: 'text/html' } });
    if (answer.redirected) location.reload();
    else if (answer.ok) take(new DOMParser().parseFromString(await answer.text(), 'text/html'));
    live.hidden = answer.ok;
    if (!answer.ok) live.textContent = 'The dashboard has trouble; trying again.';
  } catch {
    live.hidden = false;
    live.textContent = 'The dashboard does not answer; trying again. What you see is old.';
  }
}

async function watch() {
  if (document.visibilityState === 'visible') await look();
  setTimeout(watch, PAUSE_MS);
}

setTimeout(watch, PAUSE_MS);
