"""draft"""
def draw(folder): folder.mkdir()
