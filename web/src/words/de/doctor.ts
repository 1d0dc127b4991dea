import type { Words } from '../en';

export const doctor: Words['doctor'] = {};
