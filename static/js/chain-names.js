// What people call the chains that a wallet may be on; a number means nothing to most.
import { t } from './words.js';

const NAMES = {
  1: 'Ethereum', 10: 'OP Mainnet', 56: 'BNB Smart Chain', 137: 'Polygon', 8453: 'Base', 16602: '0G Galileo', 16661: '0G Mainnet',
  42161: 'Arbitrum One', 43114: 'Avalanche', 11155111: 'Sepolia',
};
export const chainName = (id) => NAMES[id] ?? t('chain {chain}', { chain: id });
