"""MQT: multi-query transformer tracking of any object (thesis Ch. 2)."""
