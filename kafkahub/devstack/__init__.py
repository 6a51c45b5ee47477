"""PostgreSQL, Redis and Kafka for development and tests, and the whole product on top of them."""
