/** `scheme://user:password@host` inside any text, as Redis clients like to print it. */
const URL_PASSWORD = /([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s@/]*@/gi;

/** The text with passwords of urls masked. */
export function maskUrls(text: string): string {
  return text.replace(URL_PASSWORD, '$1:***@');
}
