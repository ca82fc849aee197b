/**
 * File name patterns of `match` rules: `*`, `?` and `[...]` within one path segment.
 *
 * As in a shell, a name with a leading dot is matched only by a pattern that begins with one: lock
 * and temporary files of editors are not journals.
 */
export function globToRegExp(pattern: string): RegExp {
  let source = pattern.startsWith('.') ? '' : '(?!\\.)';
  for (let at = 0; at < pattern.length; ) {
    const char = pattern.charAt(at);
    const end = char === '[' ? classEnd(pattern, at) : -1;
    if (end > 0) {
      source += characterClass(pattern.slice(at + 1, end));
      at = end + 1;
      continue;
    }
    if (char === '*') source += '[^/]*';
    else if (char === '?') source += '[^/]';
    else source += char.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
    at += char.length;
  }
  return new RegExp(`^${source}$`, 's');
}

/** Whether the text would match more than itself. */
export function isGlob(text: string): boolean {
  return /[*?[]/.test(text);
}

/** Index of the `]` that closes the class opened at `open`, or -1: then `[` stands for itself. */
function classEnd(pattern: string, open: number): number {
  let from = open + 1;
  if (pattern[from] === '!' || pattern[from] === '^') from += 1;
  // A `]` directly after the opening is a member of the class.
  return pattern.indexOf(']', from + 1);
}

function characterClass(inner: string): string {
  const negated = inner.startsWith('!') || inner.startsWith('^');
  const members = (negated ? inner.slice(1) : inner).replace(/[\\\]^[]/g, '\\$&');
  return negated ? `[^/${members}]` : `[${members}]`;
}
