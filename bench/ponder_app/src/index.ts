import { ponder } from "ponder:registry";
import { account, entry, service } from "ponder:schema";

ponder.on("Ledger:FundSpent", async ({ event, context }) => {
  const { user, amount } = event.args;
  await context.db
    .insert(entry)
    .values({ id: event.id, kind: "spent", user, amount, block: event.block.number });
});

ponder.on("Inference:BalanceUpdated", async ({ event, context }) => {
  const { user, provider, amount, pendingRefund } = event.args;
  await context.db
    .insert(account)
    .values({ id: `${user}-${provider}`, balance: amount, pendingRefund })
    .onConflictDoUpdate({ balance: amount, pendingRefund });
});

ponder.on("Inference:TEESettlementResult", async ({ event, context }) => {
  const { user, unsettledAmount } = event.args;
  await context.db
    .insert(entry)
    .values({ id: event.id, kind: "settlement", user, amount: unsettledAmount, block: event.block.number });
});

ponder.on("Inference:RefundRequested", async ({ event, context }) => {
  await context.db
    .insert(entry)
    .values({ id: event.id, kind: "refund", user: event.args.user, amount: 0n, block: event.block.number });
});

ponder.on("Inference:ServiceUpdated", async ({ event, context }) => {
  const { service: provider, model, inputPrice, outputPrice } = event.args;
  await context.db
    .insert(service)
    .values({ provider, model, inputPrice, outputPrice })
    .onConflictDoUpdate({ model, inputPrice, outputPrice });
});
