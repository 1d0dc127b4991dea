import type { Words } from '../en';

export const chat: Words['chat'] = {};
