import { describe, it } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { killReceiver, pointsOf } from './crashScenario.js';

failOnLeaks();

describe('a receiver killed at a named point', () => {
  for (const point of pointsOf('receiver')) {
    it(`loses nothing, doubles nothing and keeps the order: ${point}`, () => killReceiver(point));
  }
});
