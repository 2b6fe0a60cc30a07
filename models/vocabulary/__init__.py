"""The words of the domain: identifiers, scopes, purposes, periods, event kinds, refusals; knows nothing else."""
