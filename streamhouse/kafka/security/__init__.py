"""Who somebody is, and what they may do: SASL, SCRAM credentials, ACLs and quotas, kept in the log."""
