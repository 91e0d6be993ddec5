"""Drawing: people, objects, vehicles and scenery as pixels."""
