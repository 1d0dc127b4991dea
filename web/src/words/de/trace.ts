import type { Words } from '../en';

export const trace: Words['trace'] = {};
