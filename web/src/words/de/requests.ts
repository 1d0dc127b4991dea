import type { Words } from '../en';

export const requests: Words['requests'] = {};
