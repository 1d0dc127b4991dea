import type { Words } from '../en';

export const device: Words['device'] = {};
