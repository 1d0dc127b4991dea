// The address within the page: #/VIEW/REST…, so that the node serves one page and the browser's
// buttons, bookmarks and links work.

interface Route {
  view: string;
  rest: string[];
}

export function parseHash(hash: string): Route {
  const [view, ...rest] = hash.replace(/^#\/?/, '').split('/').map(decode);
  return { view: view || 'home', rest };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function hashOf(view: string, ...rest: string[]): string {
  return '#/' + [view, ...rest].map(encodeURIComponent).join('/');
}

export function go(view: string, ...rest: string[]): void {
  location.hash = hashOf(view, ...rest);
}

export const route: Route = $state(parseHash(location.hash));

addEventListener('hashchange', () => Object.assign(route, parseHash(location.hash)));
