// Where the devices stand in the picture, and which way the tokens go. Pixels.

// So many devices may have a line to each; of more, all lines together would only hide the picture.
export const fewDevices = 8;

export interface Point {
  x: number;
  y: number;
}
export interface Layout {
  width: number;
  height: number;
  // Of the circle of a device.
  radius: number;
  points: Point[];
}

// Few devices stand on an ellipse, many in rows that are shifted against each other. How many are
// few depends on the room for their names.
export function layout(devices: number, width: number): Layout {
  return devices <= (width < 520 ? 5 : fewDevices) ? around(devices, width) : rows(devices, width);
}

function around(devices: number, width: number): Layout {
  const narrow = width < 520;
  const radius = narrow ? 30 : 38;
  const label = 52;
  const height = devices <= 1 ? 220 : devices === 2 ? 240 : narrow ? 380 : devices > 6 ? 420 : 340;
  const center = { x: width / 2, y: (height - label) / 2 + 8 };
  if (devices === 1) return { width, height, radius, points: [center] };
  const reach = {
    x: Math.min(width / 2 - (narrow ? 54 : radius + 44), 340),
    y: (height - label) / 2 - radius - 8,
  };
  // The first one is at the left: tokens are read as going to the right.
  const points = Array.from({ length: devices }, (_, i) => {
    const angle = Math.PI + (2 * Math.PI * i) / devices;
    return { x: center.x + reach.x * Math.cos(angle), y: center.y + reach.y * Math.sin(angle) };
  });
  return { width, height, radius, points: centered(points, center.x) };
}

// The same picture with its middle at `x`.
function centered(points: Point[], x: number): Point[] {
  const xs = points.map((point) => point.x);
  const shift = x - (Math.min(...xs) + Math.max(...xs)) / 2;
  return points.map((point) => ({ x: point.x + shift, y: point.y }));
}

function rows(devices: number, width: number): Layout {
  const narrow = width < 520;
  const radius = narrow ? 18 : 22;
  const pitch = narrow ? { x: 64, y: 72 } : { x: 92, y: 96 };
  const perRow = Math.max(1, Math.min(devices, Math.floor((width - pitch.x / 2) / pitch.x)));
  const left = (width - perRow * pitch.x - pitch.x / 2) / 2 + pitch.x / 2;
  const points = Array.from({ length: devices }, (_, i) => {
    const row = Math.floor(i / perRow);
    return { x: left + (i % perRow) * pitch.x + (row % 2 ? pitch.x / 2 : 0), y: radius + 10 + row * pitch.y };
  });
  return { width, height: Math.ceil(devices / perRow) * pitch.y, radius, points };
}

// The line from the edge of one circle to that of another, bent so that there and back are two lines.
export function pathBetween(from: Point, to: Point, radius: number): string {
  const dx = to.x - from.x, dy = to.y - from.y;
  const length = Math.hypot(dx, dy) || 1;
  const bend = Math.min(28, length * 0.12);
  const middle = { x: (from.x + to.x) / 2 - (dy / length) * bend, y: (from.y + to.y) / 2 + (dx / length) * bend };
  const start = edge(from, middle, radius), end = edge(to, middle, radius);
  return `M${round(start.x)} ${round(start.y)}Q${round(middle.x)} ${round(middle.y)} ${round(end.x)} ${round(end.y)}`;
}

function edge(of: Point, towards: Point, radius: number): Point {
  const dx = towards.x - of.x, dy = towards.y - of.y;
  const length = Math.hypot(dx, dy) || 1;
  return { x: of.x + (dx / length) * (radius + 4), y: of.y + (dy / length) * (radius + 4) };
}

const round = (value: number): number => Math.round(value * 10) / 10;

// The ways of a token: from stage to stage, and from the last one back to the first, which asks the
// next one of it. Device ids; none for a model on one device.
export function hopsOf(stages: { node_id: string }[]): { from: string; to: string }[] {
  const ids = stages.map((one) => one.node_id).filter((id, i, all) => id !== all[i - 1]);
  if (ids.length < 2) return [];
  return ids.map((from, i) => ({ from, to: ids[(i + 1) % ids.length]! }));
}

// A part of a ring as a path: `from` and `to` are parts of the whole turn, from the top clockwise.
export function arc(center: Point, radius: number, from: number, to: number): string {
  const span = Math.min(1, Math.max(0, to - from));
  if (span === 0) return '';
  const at = (part: number): string => {
    const angle = 2 * Math.PI * part - Math.PI / 2;
    return `${round(center.x + radius * Math.cos(angle))} ${round(center.y + radius * Math.sin(angle))}`;
  };
  // One arc has no direction where its ends meet: two halves have.
  const upTo = (part: number): string => `A${radius} ${radius} 0 0 1 ${at(part)}`;
  return `M${at(from)}${span > 0.5 ? upTo(from + span / 2) : ''}${upTo(from + span)}`;
}
