DROP TABLE positions;
DROP TABLE events;
DROP FUNCTION events_only_added();
DROP TABLE subscription_cost;
DROP TABLE subscriptions;
DROP TABLE attempts;
DROP TABLE payments;
DROP TABLE accounts;
