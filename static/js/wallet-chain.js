// Moves the wallet to our chain. A module of its own: lists and other pages that only read need none of it.
import { pause } from './timing.js';
import { chainNow, config, prompt } from './wallet-provider.js';
import { t } from './words.js';

// Some wallets answer first and change their chain a moment later: within three seconds it must be there.
async function arrived() {
  for (let left = 10; left; left -= 1) {
    if (await chainNow() === config.chainId) return true;
    await pause(300);
  }
  return await chainNow() === config.chainId;
}

// Switch the wallet to our chain, adding it where the wallet does not know it (error 4902, which MetaMask on phones wraps
// in another). Throws when it stays elsewhere.
export async function ensureChain() {
  if (await chainNow() === config.chainId) return;
  const chainId = config.chain.chainId;
  try {
    await prompt('wallet_switchEthereumChain', [{ chainId }]);
  } catch (error) {
    if (![error?.code, error?.data?.originalError?.code].includes(4902) || !config.chain.rpcUrls.length) throw error;
    await prompt('wallet_addEthereumChain', [config.chain]);
    if (await chainNow() !== config.chainId) await prompt('wallet_switchEthereumChain', [{ chainId }]);
  }
  if (!await arrived()) throw new Error(t('The wallet is still on another chain. Switch it to {chain}.', { chain: config.chain.chainName }));
}
