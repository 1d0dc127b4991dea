import type { Words } from '../en';

export const logs: Words['logs'] = {};
