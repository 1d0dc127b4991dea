import './styles/tokens.css';
import './styles/base.css';
import './styles/first.css';
import { mount } from 'svelte';
import App from './App.svelte';
import { startLanguage } from './words/index.svelte';

void startLanguage().then(() => {
  const target = document.getElementById('app')!;
  target.replaceChildren();
  mount(App, { target });
});
