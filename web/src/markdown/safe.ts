// Addresses that a model wrote. A link is followed only by a click and leads out of the page; a
// picture is never fetched, because its address could carry away what the conversation says.

const followed = new Set(['http:', 'https:', 'mailto:']);

// The address as the browser reads it, or undefined for one that must not be a link: scripts, data,
// files, and addresses within this page.
export function safeLink(href: string): string | undefined {
  try {
    const url = new URL(href);
    return followed.has(url.protocol) ? url.href : undefined;
  } catch {
    return undefined;
  }
}

// A picture that is in the text itself. SVG is left out: it may hold scripts and fetch others.
export function embeddedPicture(href: string): string | undefined {
  return /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/.test(href) ? href : undefined;
}

// Where a link leads, in few words.
export function hostOf(href: string): string {
  const url = new URL(href);
  return url.host || url.pathname;
}
