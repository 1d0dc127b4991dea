import type { Words } from '../en';

export const open: Words['open'] = {};
