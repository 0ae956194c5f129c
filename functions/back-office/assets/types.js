// The export types. Generated from their definitions by `tests/run --update unit`.

export const TYPES = [
  { slug: "marketplace-payouts", title: "Marketplace payouts", singular: "payout", plural: "payouts" },
  { slug: "supplier-payouts", title: "Supplier payouts", singular: "supplier payout", plural: "supplier payouts" },
  { slug: "funding-transfers", title: "Funding transfers", singular: "funding transfer", plural: "funding transfers" },
];
