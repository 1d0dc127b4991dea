import type { Words } from '../en';

export const home: Words['home'] = {};
